"""The Lambda function answers only those who know the token."""

import base64
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "functions" / "webhook-lambda"))
os.environ["TOKEN"] = "a token for this test"

import app


class Webhook(unittest.TestCase):
    def status(self, token, **event):
        return app.handler({"headers": {"Authorization": token}, **event}, None)["statusCode"]

    def test_the_token_opens(self):
        assert self.status("Bearer a token for this test", body="hello") == 202
        encoded = base64.b64encode(b"hello").decode()
        assert self.status("Bearer a token for this test", body=encoded, isBase64Encoded=True) == 202

    def test_nothing_else_does(self):
        for token in ("", "Bearer", "Bearer another token"):
            assert self.status(token, body="hello") == 401


if __name__ == "__main__":
    unittest.main()
