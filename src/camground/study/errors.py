"""The error that a user can mend: it names the file, row or key and says what to do."""


class UserError(Exception):
    """Bad input. The message names what is wrong, where, and what to do; no traceback is shown."""
