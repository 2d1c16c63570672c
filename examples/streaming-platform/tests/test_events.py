"""The Lambda function takes what a stream and a schedule send."""

import base64
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "functions" / "events-lambda"))

import app


class Events(unittest.TestCase):
    def test_records_are_logged(self):
        data = base64.b64encode(b"hello").decode()
        with self.assertLogs(level="INFO") as logs:
            answer = app.handler({"Records": [{"eventID": "shard:1", "kinesis": {"data": data}}]}, None)
        assert answer == {"records": 1}
        assert "record shard:1 of 5 bytes" in logs.output[0]

    def test_so_is_a_call_of_the_schedule(self):
        with self.assertLogs(level="INFO") as logs:
            assert app.handler({"kind": "heartbeat"}, None) == {"records": 0}
        assert "heartbeat" in logs.output[0]


if __name__ == "__main__":
    unittest.main()
