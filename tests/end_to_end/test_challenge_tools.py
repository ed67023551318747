"""tools/train_net.py and tools/test.py with the arguments of the challenge."""

from commands import TINY, run, run_here, same_bits


def test_train_net_trains_like_fastreid_train(drawings, trained, tmp_path):
    settings = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out")
    code, output, errors = run("train_net.py", *settings, folder=tmp_path)
    assert code == 0, output + errors
    assert same_bits(tmp_path / "out/model_final.pth", trained / "model_final.pth")


def test_both_tools_evaluate_without_training(drawings, trained, tmp_path):
    weights = ("MODEL.WEIGHTS", trained / "model_best.pth")
    settings = ("--eval-only", "--config-file", TINY, "DATASETS.ROOT", drawings, *weights, "OUTPUT_DIR")
    for tool in ("train_net.py", "test.py"):
        code, output, errors = run_here(tool, *settings, tool, folder=tmp_path)
        assert code == 0, errors
        assert "mAP@10" in output
        assert (tmp_path / tool / "result.npy").is_file()
        assert not list((tmp_path / tool).glob("*.pth"))
        assert (tmp_path / "result.npy").is_file() == (tool == "test.py")
    assert (tmp_path / "train_net.py/result.npy").read_bytes() == (tmp_path / "result.npy").read_bytes()
