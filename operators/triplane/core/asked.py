"""What questions to people look like in Airflow: to who asks, to who shows them and to who answers for somebody."""

from __future__ import annotations

APPROVE, REJECT = "Approve", "Reject"
ASKS = "awaiting_input"
"""The state of a task that asks, and that no worker runs any more."""
DIGEST, REASON = "digest", "reason"
"""Fields that every form has: what the answer is about, and why it is given."""
HOLD = "hold_"
"""What the names of fields begin with that hold back a cloud."""
SETTLE_SECONDS = 3.0
"""So long a program leaves a question alone that was just asked: until the scheduler has heard that the try which asked
it is over, a round or two of it, Airflow 3.3 takes that end for the end of a task that is answered, and fails it.
"""
