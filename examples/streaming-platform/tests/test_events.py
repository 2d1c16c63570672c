"""The Lambda function takes what a stream and a schedule send."""

import base64
import contextlib
import io
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "functions" / "events-lambda"))

import app


class Events(unittest.TestCase):
    def call(self, event):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            return app.handler(event, None), printed.getvalue()

    def test_records_are_logged(self):
        data = base64.b64encode(b"hello").decode()
        answer, log = self.call({"Records": [{"eventID": "shard:1", "kinesis": {"data": data}}]})
        assert answer == {"records": 1}
        assert log == "record shard:1 of 5 bytes\n"

    def test_so_is_a_call_of_the_schedule(self):
        answer, log = self.call({"kind": "heartbeat"})
        assert answer == {"records": 0}
        assert "heartbeat" in log


if __name__ == "__main__":
    unittest.main()
