"""The command `ofa`: one module per command.

A command is a module of this folder whose name is in `COMMANDS`. It has

* a docstring: its first line is the command's help;
* `add_arguments(parser)`: declares the arguments;
* `run(args)`: does the work and returns an `Output`;
* `EXTRA`, if it needs packages beyond the three of a plain installation: the extra that brings them.

Slow imports happen only when a command runs, or when its own `--help` is shown. `ofa verify` therefore starts in a fraction
of a second and loads none of numpy, torch, TensorFlow and DVC.
"""

COMMANDS = ("make", "check", "profile", "verify", "fetch", "cost", "search", "export", "eval", "predict", "bench", "score")
"""In the order of `ofa --help`."""
