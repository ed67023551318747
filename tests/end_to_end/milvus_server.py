"""A Milvus Lite server for tests, on a free port of 127.0.0.1; it stops at the end of its standard input."""

import contextlib
import subprocess
import sys


@contextlib.contextmanager
def start_milvus_server(folder):
    """Yield the address of a server process, with its data in a folder."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(30)


def serve(folder):
    """Serve until the standard input ends."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(folder, host="127.0.0.1", port=0)
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=1).wait()
    database.close()


if __name__ == "__main__":
    serve(sys.argv[1])
