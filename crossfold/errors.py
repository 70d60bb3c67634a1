"""The one exception that reaches a user as a message instead of a traceback."""


class CrossfoldError(ValueError):
    """Something that the user can mend.

    Parameters
    ----------
    message
        What is wrong: names the file, the key and the value.
    remedy
        What to do about it.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}\n  Remedy: {remedy}" if remedy else message)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.remedy)


def _rebuild(kind: type[CrossfoldError], message: str, remedy: str) -> CrossfoldError:
    return kind(message, remedy=remedy)
