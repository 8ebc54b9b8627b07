from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.settings import build_settings

FILES = {
    "kafka": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "u",
        "sasl_plain_password_file": "f",
        "sasl_oauth_token_file": "f",
        "ssl_cafile": "f",
        "ssl_certfile": "f",
        "ssl_keyfile": "f",
        "ssl_password_file": "f",
    },
    "server": {
        "tokens_file": "f",
        "tls_cert_file": "f",
        "tls_key_file": "f",
        "jwt": {"jwks_file": "f", "audience": "a", "issuer": "i"},
    },
    "pipelines": {
        "p": {
            "sources": {
                "websocket_client": {"url": "ws://feed.example/", "token_file": "f"},
                "rabbitmq": {"url_file": "f", "queue": "q"},
                "llm": {
                    "url": "http://a/v1",
                    "model": "m",
                    "api_key_file": "f",
                    "prompts_file": "f",
                },
            },
            "dead_letter": "dead",
            "handlers": {"h": {"use": "log_alerts", "output": "out"}},
        }
    },
    "state": {"directory": "no-file"},
}


def _paths(section: Any, path: str = "") -> list[str]:
    if isinstance(section, dict):
        return [each for key, value in section.items() for each in _paths(value, f"{path}.{key}")]
    return [path.removeprefix(".")] if section == "f" else []


def _in(directory: Path, section: Any) -> Any:
    if isinstance(section, dict):
        return {key: _in(directory, value) for key, value in section.items()}
    return str(directory / "f") if section == "f" else section


def test_each_file_that_cannot_be_read_is_a_problem_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_settings(_in(tmp_path, FILES))

    expected = [f"{path}: cannot be read: No such file or directory" for path in _paths(FILES)]
    assert sorted(caught.value.problems) == sorted(expected)


def test_files_that_are_there_are_no_problem(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")

    assert build_settings(_in(tmp_path, FILES)).server.tokens_file == tmp_path / "f"


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({"type": "rabbitmq", "queue": "q", "url": "amqp://a", "url_file": "f"}, "url"),
        (
            {
                "type": "llm",
                "url": "http://a/v1",
                "model": "m",
                "prompts": ["a"],
                "api_key": "k",
                "api_key_file": "f",
            },
            "api_key",
        ),
    ],
    ids=["rabbitmq", "llm"],
)
def test_a_secret_given_twice_is_a_problem(
    tmp_path: Path, source: dict[str, Any], key: str
) -> None:
    (tmp_path / "f").write_text("")
    pipeline = {
        "sources": {"s": _in(tmp_path, source)},
        "dead_letter": "dead",
        "handlers": {"h": {"use": "log_alerts", "output": "out"}},
    }

    with pytest.raises(ConfigurationError) as caught:
        build_settings({"pipelines": {"p": pipeline}})

    assert caught.value.problems == [
        f"pipelines.p.sources.s.{key}: and {key}_file are both set; keep one"
    ]
