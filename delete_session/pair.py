"""Two calls made at the same moment, as good as: the second tells why the first was refused."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pair:
    """When two calls were made, and how they were answered."""

    first_at: float
    """Monotonic seconds."""
    second_at: float | None = None
    first_refused: bool | None = None
    second_refused: bool | None = None

    def call_second(self, at: float) -> None:
        """Note when the second call is made; if the first one is answered already, they are no pair."""
        if self.first_refused is None:
            self.second_at = at

    def answered(self, called_at: float, refused: bool) -> bool | None:
        """Note an answer, to whatever call.

        Args:
            called_at: when the call was made.
            refused: whether it was answered by 429.

        Returns:
            Whether the second call was refused, if this answer was the one that was missing and the
            first call was refused. None: nothing is to be learned, or not yet.
        """
        if called_at == self.first_at and self.first_refused is None:
            self.first_refused = refused
        elif called_at == self.second_at and self.second_refused is None:
            self.second_refused = refused
        else:
            return None
        return self.second_refused if self.first_refused else None
