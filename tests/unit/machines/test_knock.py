from __future__ import annotations

import json
from pathlib import Path

from triplane.machines import knock


def test_an_address_that_is_in_no_inventory_is_told(tmp_path: Path) -> None:
    """``~/.ssh/config`` may have said ``HostName`` something else."""
    file = tmp_path / "knock.json"
    file.write_text(
        json.dumps({"public_key": "ssh-ed25519 AAAA", "instances": {"10.0.0.1": "i-0123456789abcdef0"}})
    )
    assert knock.main(str(file), "10.0.0.2", "22", "ubuntu") == 1
    assert Path(f"{file}.log").read_text().startswith("10.0.0.2: it has another address here")
