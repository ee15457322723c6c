"""The environment and .env, and how mistakes in them are named."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from windmill.errors import ConfigError
from windmill.settings import Settings, load

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_the_environment_wins_over_the_file(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("DB_HOST=from-file\nDB_PORT=6000\n", "utf-8")
    loaded = load({"DB_HOST": "from-environment"}, dotenv)
    assert (loaded.db_host, loaded.db_port) == ("from-environment", 6000)


def test_an_empty_variable_is_not_set(tmp_path):
    assert load({"DB_PORT": " "}, tmp_path / "none").db_port == 5432


def test_lists_are_separated_by_commas_and_folders_by_colons_as_well(tmp_path):
    environ = {"IMAGE_ROOTS": "/a:/b, /c,", "ALLOW_PRIVATE_URLS": "media.lan, ::1 ,10.0.0.0/8"}
    loaded = load(environ, tmp_path / "none")
    assert loaded.image_roots == (Path("/a"), Path("/b"), Path("/c"))
    assert loaded.allow_private_urls == ("media.lan", "::1", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({}, "postgres"),
        ({"QUEUE_HOST": "q"}, "rabbitmq"),
        ({"QUEUE_HOST": "q", "BROKER": "postgres"}, "postgres"),
    ],
)
def test_the_broker_follows_from_queue_host(tmp_path, environ, kind):
    assert load(environ, tmp_path / "none").broker_kind == kind


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DB_PORT": "many"}, "DB_PORT='many' in the environment: expected a whole number"),
        ({"DB_PORT": "0"}, "DB_PORT='0' in the environment: expected 1 to 65535"),
        ({"QUEUE_SSL": "maybe"}, "QUEUE_SSL='maybe' in the environment: expected true or false"),
        ({"BROKER": "kafka"}, "expected one of rabbitmq, postgres"),
        ({"BROKER": "rabbitmq"}, "QUEUE_HOST"),
        ({"REQUEST_TIMEOUT": "nan"}, "REQUEST_TIMEOUT"),
        ({"IMAGE_ROOTS": "/data,photos"}, "IMAGE_ROOTS: photos is no absolute path"),
        ({"ALLOW_PRIVATE_URLS": "10.0.0.0/33"}, "ALLOW_PRIVATE_URLS: '10.0.0.0/33': expected a host name"),
        ({"ALLOW_PRIVATE_URLS": "http://media.lan"}, "ALLOW_PRIVATE_URLS: 'http://media.lan'"),
        ({"ALLOW_PRIVATE_URLS": "media.lan:80"}, "ALLOW_PRIVATE_URLS: 'media.lan:80'"),
        (
            {"ENABLE_MONITORING": "true", "MONITORING_DB_HOST": "m", "MONITORING_DB_USER": "u"},
            "MONITORING_DB_NAME, MONITORING_DB_PASSWORD: not set",
        ),
    ],
)
def test_a_mistake_names_the_variable_and_where_it_stands(tmp_path, environ, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(environ, tmp_path / "none")


def test_a_mistake_in_the_file_names_the_file(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("MAX_RETRIES=-1\n", "utf-8")
    with pytest.raises(ConfigError, match=re.escape(str(dotenv))):
        load({}, dotenv)


def test_passwords_stay_out_of_the_repr():
    secret = "correct horse"
    settings = Settings(db_password=secret, queue_password=secret, monitoring_db_password=secret)
    assert secret not in repr(settings)
    assert secret not in repr(Settings(web_tokens=(secret,), web_token=secret))


def test_every_setting_stands_in_the_example_with_a_comment():
    lines = EXAMPLE.read_text("utf-8").splitlines()
    variables = [re.match(r"#([A-Z_]+)=", line) for line in lines]
    named = {match[1] for match in variables if match}
    assert named == {field.name.upper() for field in fields(Settings)}
    uncommented = [line for line in lines if line and not line.startswith("#")]
    assert uncommented == []


def test_the_examples_values_are_the_defaults(tmp_path):
    example = EXAMPLE.read_text("utf-8")
    dotenv = tmp_path / ".env"
    optional = (
        "QUEUE_HOST",
        "BROKER",
        "SERVICE_NAME",
        "MONITORING_DB",
        "IMAGE_ROOTS",
        "ALLOW_PRIVATE",
        "VISION_MODEL",
    )
    values = [line[1:] for line in example.splitlines() if re.match(r"#[A-Z_]+=", line)]
    dotenv.write_text("\n".join(v for v in values if not v.startswith(optional)), "utf-8")
    assert load({}, dotenv) == Settings()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"QUEUE_SSL_CA": "ca.pem"}, ("QUEUE_SSL_CA", "QUEUE_SSL=true")),
        ({"QUEUE_SSL": "true", "QUEUE_SSL_CERT": "c.pem"}, ("QUEUE_SSL_CERT", "QUEUE_SSL_KEY")),
        ({"DB_SSLROOTCERT": "ca.pem"}, ("DB_SSLROOTCERT", "DB_SSLMODE=verify-full")),
        ({"DB_SSLROOTCERT": "ca.pem", "DB_SSLMODE": "require"}, ("DB_SSLROOTCERT", "DB_SSLMODE=verify-full")),
        ({"DB_SSLCERT": "c.pem", "DB_SSLKEY": "k.pem"}, ("DB_SSLCERT", "DB_SSLMODE=verify-full")),
        ({"DB_SSLKEY": "k.pem", "DB_SSLMODE": "verify-full"}, ("DB_SSLCERT", "DB_SSLKEY")),
        ({"MONITORING_DB_SSL_CA": "ca.pem"}, ("MONITORING_DB_SSL_CA", "MONITORING_DB_SSL=true")),
    ],
)
def test_files_that_would_not_be_used_are_an_error(environment, named, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(environment, tmp_path / ".env")
    assert all(name in str(caught.value) for name in named)


def test_a_password_in_the_file_is_taken_as_it_is(tmp_path):
    (tmp_path / ".env").write_text("DB_PASSWORD='a${HOME}b $x \"#%@é '\n", "utf-8")
    assert load({}, tmp_path / ".env").db_password == 'a${HOME}b $x "#%@é '


def test_a_value_that_is_not_utf_8_is_an_error_that_does_not_show_it(tmp_path):
    with pytest.raises(ConfigError, match="DB_PASSWORD in the environment: not UTF-8") as caught:
        load({"DB_PASSWORD": "secret\udcff"}, tmp_path / ".env")
    assert "secret" not in str(caught.value)


def test_the_password_of_the_manual_is_read_as_it_stands_there(tmp_path):
    manual = (EXAMPLE.parent / "docs/security.md").read_text("utf-8")
    (line,) = re.findall(r"^DB_PASSWORD='.*'$", manual, re.MULTILINE)
    (tmp_path / ".env").write_text(f"{line}\nQUEUE_PASSWORD='it\\'s'\n", "utf-8")
    found = load({}, tmp_path / ".env")
    assert (found.db_password, found.queue_password) == ('p@ss "word" %20 $x#é', "it's")
