"""Check before the first iteration that all processes of a run read the same data with the same settings."""

from fastreid.engine.resume.data_fingerprint import DataFingerprint, describe_change
from fastreid.engine.resume.settings import diff_processes
from fastreid.utils import comm
from fastreid.utils.errors import InputError


def check_processes_agree(fingerprint: DataFingerprint, settings: str) -> None:
    """Compare the data and the settings of every process with those of process 0; every process must call it.

    Args:
        fingerprint: of the lists that this process has read.
        settings: text of its `config.yaml`.

    Raises:
        InputError: a process has other data or settings; every process raises the same error.
    """
    if comm.get_world_size() == 1:
        return
    main_state, main_settings = comm.broadcast_object((fingerprint.state, settings))
    rank = comm.get_rank()
    keys = diff_processes(main_settings, settings)
    difference = f"its settings differ: {', '.join(keys[:5])}" if keys else ""
    difference = difference or describe_change(
        main_state, fingerprint, first="in process 0", second=f"in process {rank}"
    )
    if not difference and main_state["whitening"] != fingerprint.state["whitening"]:
        difference = "the content of TEST.WHITEN.LEARN_FROM differs"
    for other_rank, text in enumerate(comm.all_gather_object(difference)):
        if text:
            raise InputError(
                f"process {other_rank} does not train the same run as process 0: {text}; give all processes the same "
                "lists, files and settings"
            )
