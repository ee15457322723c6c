"""Whatever service_config.json holds is a catalog or a ConfigError that names the file."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.given import damaged, fuzz, json_values, scalars
from windmill import catalog
from windmill.errors import ConfigError
from windmill.service_http import HttpService

SHIPPED = (Path(__file__).parents[2] / "service_config.json").read_bytes()
hosts = st.text(max_size=70) | st.sampled_from(
    ["::1", "[::1]", "a b", "a/b", "a@b", "a\nb", "[", "ü", ".", "a..b"]
)
good = {
    "host": hosts,
    "port": st.integers(0, 65535),
    "endpoint": st.text(max_size=9).map("/{}".format),
    "category": st.sampled_from((*catalog.CATEGORIES, "post_processing")),
    "service_type": st.lists(st.sampled_from(catalog.SERVICE_TYPES), max_size=3),
    "triggers": st.lists(st.sampled_from(catalog.STAGES), max_size=3),
    "bbox_format": st.sampled_from(catalog.BBOX_FORMATS),
    "vocabulary": st.sampled_from(catalog.VOCABULARIES) | st.lists(st.text(max_size=9), max_size=3),
    "timeout": st.floats(0, 1700),
    "concurrency": st.integers(1, 256),
}
bad = {key: value | scalars | st.lists(scalars, max_size=2) for key, value in good.items()}
hosted = st.fixed_dictionaries({"host": hosts}, optional={"endpoint": good["endpoint"]})
entries = hosted | st.fixed_dictionaries({}, optional=good) | st.fixed_dictionaries({}, optional=bad)
files = st.dictionaries(st.sampled_from(list(catalog.BUILT_IN)) | st.text(max_size=5), entries, max_size=2)
written = st.builds(lambda value: json.dumps(value).encode(), files | json_values)
garbled = damaged(st.just(SHIPPED)) | st.binary(max_size=50)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("catalog") / "service_config.json"


def check(file, body):
    """A catalog whose services can be called, or an error in one plain line that begins with the file."""
    file.write_bytes(body)
    try:
        known = catalog.load(file)
    except ConfigError as error:
        assert str(error).startswith(str(file))
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return
    for service in known.services.values():
        assert service.service_types
        assert service.url.isprintable()
        assert "".join(service.vocabulary).isprintable()  # they are stored with each result
        assert " " not in service.url
        HttpService(service, timeout=1)  # a host that no connection could be made for is refused here


@fuzz
@given(body=written)
def test_any_json_is_a_catalog_or_a_config_error(file, body):
    check(file, body)


@fuzz
@given(body=garbled)
def test_any_bytes_are_a_catalog_or_a_config_error(file, body):
    check(file, body)
