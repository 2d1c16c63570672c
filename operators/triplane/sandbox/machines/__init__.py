"""Virtual machines: real SSH servers on loopback, a few for each cloud."""

from triplane.sandbox.machines.part import PART as PART
