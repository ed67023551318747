"""Documented commands that no test executes, and why."""

NOT_EXECUTED_PAGES = {
    "docs/lab-notebook.md": "a record of earlier measurements, with data outside of the repository, of many hours",
}
NOT_EXECUTED = {
    r"\. \.venv/bin/activate|export .*": "changes the shell only",
    r"pip uninstall .*|\.venv/bin/pip freeze .*|\.venv/bin/pre-commit install": "changes or describes the installation",
    r"tensorboard --logdir logs|milvus-lite server .*": "a server of another project",
    r"\.venv/bin/python docs/pictures\.py NAME": "needs the models of `make demo`, minutes, and a browser",
    r"fastreid models download (swinv2|tf_efficientnet|vit)_.*": "needs the Hugging Face hub",
    r"torchrun .*": "test_several_processes.py starts torchrun with two processes on a CPU",
    r"OMP_WAIT_POLICY=ACTIVE fastreid train \.\.\.": "names a variable of the environment, not a command",
    r"python my_fastreid\.py .*": "the script of docs/extending.md, which tests/architecture/test_docs.py executes",
    r"python tests/benchmarks/retrieval_table\.py .*": "reads real drawings; its unit test has random ones",
    r"sha256sum -c": "names the format of a file, not a command",
}
