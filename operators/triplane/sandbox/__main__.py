"""``python -m triplane.sandbox``: the same as ``triplane sandbox``."""

from __future__ import annotations

import sys

from triplane.sandbox.command import main

sys.exit(main())
