"""Any text is a condition that a database can be asked, or a ConfigError in one plain line."""

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.given import fuzz
from windmill.core import where
from windmill.core.fields import FIELDS
from windmill.errors import ConfigError
from windmill.plain import line

EXAMPLES = [one for field in FIELDS.values() for one in field.examples]
words = st.sampled_from(
    [*FIELDS, *where.OPERATORS, *"?()[]'\"“”", "and", "or", "not", "'🚗'", "0.1", "-1", "'2024-01-31'", "''"]
)
sentences = st.lists(words | st.sampled_from(EXAMPLES) | st.text(max_size=3), max_size=12).map(" ".join)


@fuzz
@given(text=sentences | st.text(max_size=40) | st.text(alphabet="('not \"", max_size=300))
def test_any_text_is_a_condition_or_a_config_error(text):
    try:
        condition = where.parse(text)
    except ConfigError as error:
        assert str(error).startswith("condition")
        assert str(error) == line(error)
        assert len(str(error)) < 300
    else:
        assert where.parse(f"not ({text})") == where.Not(condition)
