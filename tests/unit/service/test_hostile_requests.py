"""Malformed and hostile requests get the correct status and the one form of errors; other requests are not affected."""

import numpy as np
import pytest
from hostile_requests import BYTES_OF_PICTURE, BYTES_OF_REQUEST, list_requests
from service_requests import start_client

LIMITS = {"max_picture_bytes": BYTES_OF_PICTURE, "max_request_bytes": BYTES_OF_REQUEST, "requests_per_minute": 0}


def send_hostile_requests(folder, picture, *, num, seed):
    lines = []
    with start_client(folder, log=lines.append, **LIMITS) as client:

        def search():
            return client.post("/api/v1/search", files=[picture.part]).json()["results"]

        expected = search()
        wrong = []
        for number, (request, statuses) in enumerate(list_requests(np.random.default_rng(seed), num)):
            method, path, options = request
            response = client.request(method, path, **options)
            if response.status_code not in statuses:
                wrong.append((method, path, response.status_code, response.text[:200], str(options)[:200]))
            elif response.status_code >= 400:
                error = response.json()["error"]
                assert error.keys() == {"code", "message"}
                assert error["message"].isprintable()
                assert response.headers["x-content-type-options"] == "nosniff"
                assert response.headers["content-type"] == "application/json"
                assert "/etc/" not in error["message"] or "column" in error["message"] or "id" in error["message"]
            if number % 25 == 0:
                assert search() == expected
        assert wrong == [], "\n".join(map(str, wrong))
        assert search() == expected
    assert not any("evil" in line or "passwd" in line or "script" in line for line in lines)
    assert not any('"status": 500' in line for line in lines)


def test_100_hostile_requests(collection_folder, picture):
    send_hostile_requests(collection_folder, picture, num=100, seed=0)


@pytest.mark.slow
def test_1000_hostile_requests(collection_folder, picture):
    send_hostile_requests(collection_folder, picture, num=1000, seed=1)
