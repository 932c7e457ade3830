"""What a person is told."""

from collections.abc import Callable

import pytest

from l4f_plugin.errors import UserError


def refusal(do: Callable, *arguments, **options) -> str:
    """The one sentence with which `do(...)` is refused."""
    with pytest.raises(UserError) as caught:
        do(*arguments, **options)
    said = str(caught.value)
    assert said.isprintable() and said.endswith(".") and ". " not in said and len(said) < 600, said
    return said
