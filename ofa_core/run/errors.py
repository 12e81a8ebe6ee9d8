"""The error that bad input ends with."""


class InputError(ValueError):
    """What a user gave cannot be used. The message is one line that names file or parameter, field and what is allowed.

    Commands and stages end with that line and exit code 2. Every other ValueError, such as numpy's or torch's, is a mistake in
    the code and keeps its traceback.
    """
