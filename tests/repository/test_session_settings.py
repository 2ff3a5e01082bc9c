"""config.pbtxt's settings of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.backends.base import LoadError
from penstock.backends.sessions import SessionSettings, session_options
from penstock.repository import session_settings as module
from penstock.repository.config_file import parse_text
from penstock.repository.session_settings import session_settings

CPU = "CPUExecutionProvider"


def settings_of(text: str) -> SessionSettings:
    return session_settings(parse_text(text, "m/config.pbtxt").message, Path("/models/m"))


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }} '


def test_defaults() -> None:
    assert settings_of("") == SessionSettings()


def test_everything_that_can_be_set() -> None:
    settings = settings_of(
        parameter("intra_op_thread_count", "3")
        + parameter("inter_op_thread_count", "2")
        + parameter("execution_mode", "1")
        + parameter("enable_mem_arena", "0")
        + parameter("enable_mem_pattern", "1")
        + parameter("session.set_denormal_as_zero", "1")
        + parameter("my_own", "ignored")
        + "instance_group { count: 2 } optimization { graph { level: -1 } } "
        + 'model_operations { op_library_filename: "ops.so" }'
    )
    assert settings == SessionSettings(
        instances=2,
        intra_op_threads=3,
        inter_op_threads=2,
        parallel_execution=True,
        graph_level="basic",
        config_entries={"session.set_denormal_as_zero": "1"},
        memory_arena=False,
        memory_pattern=True,
        custom_op_libraries=(Path("/models/m/ops.so"),),
    )


@pytest.mark.parametrize("name", ["/tmp/ops.so", "../../ops.so"])
def test_operators_come_from_the_model_s_folder(name: str) -> None:
    with pytest.raises(LoadError, match=r"^model_operations: op_library_filename .* folder 'm'$"):
        settings_of(f'model_operations {{ op_library_filename: "{name}" }}')


def test_zero_threads_leave_it_to_the_server() -> None:
    assert settings_of(parameter("intra_op_thread_count", "0")).intra_op_threads is None


@pytest.mark.parametrize(
    ("level", "name"), [(-1, "basic"), (0, "all"), (1, "extended"), (2, "none")]
)
def test_graph_levels(level: int, name: str) -> None:
    assert settings_of(f"optimization {{ graph {{ level: {level} }} }}").graph_level == name


@pytest.mark.parametrize(
    ("cores", "instances", "threads"),
    [(1, 1, 1), (4, 1, 4), (4, 2, 2), (4, 3, 1), (4, 9, 1), (64, 1, 8), (64, 16, 4)],
)
def test_instances_share_the_cores(cores: int, instances: int, threads: int) -> None:
    assert SessionSettings(instances=instances).default_threads(cores) == threads


def test_session_options_do_not_spin() -> None:
    options = session_options(SessionSettings(), 2)
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


def test_config_entries_win_over_the_defaults() -> None:
    settings = settings_of(parameter("session.intra_op.allow_spinning", "1"))
    options = session_options(settings, 2)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            parameter("intra_op_thread_count", "-1"),
            "parameter intra_op_thread_count is '-1', expected 0 to 1024",
        ),
        (
            parameter("inter_op_thread_count", "many"),
            "parameter inter_op_thread_count is 'many', expected 0 to 1024",
        ),
        (parameter("execution_mode", "2"), "parameter execution_mode is '2', expected 0 or 1"),
        (
            "optimization { graph { level: 7 } }",
            "optimization: graph level is 7, expected -1 (basic), 0 (all), 1 (extended) or 2 "
            "(none)",
        ),
    ],
)
def test_values_that_cannot_work(text: str, error: str) -> None:
    with pytest.raises(LoadError) as raised:
        settings_of(text)
    assert str(raised.value) == error


class TestDevices:
    @pytest.fixture
    def with_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider", CPU]
        monkeypatch.setattr(module, "available_providers", lambda: providers)

    @pytest.fixture
    def without_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "available_providers", lambda: [CPU])

    @pytest.mark.usefixtures("without_cuda")
    def test_kind_gpu_needs_cuda(self) -> None:
        with pytest.raises(LoadError) as raised:
            settings_of("instance_group { kind: KIND_GPU }")
        assert str(raised.value) == (
            "instance_group: KIND_GPU needs CUDAExecutionProvider, the installed onnxruntime has "
            "CPUExecutionProvider"
        )

    @pytest.mark.usefixtures("without_cuda")
    @pytest.mark.parametrize("kind", ["KIND_AUTO", "KIND_CPU", "KIND_MODEL"])
    def test_every_other_kind_is_the_cpu(self, kind: str) -> None:
        assert settings_of(f"instance_group {{ kind: {kind} }}").providers == ((CPU, {}),)

    @pytest.mark.usefixtures("with_cuda")
    def test_kind_gpu(self) -> None:
        settings = settings_of("instance_group { kind: KIND_GPU gpus: 1 count: 2 }")
        assert settings.providers == (("CUDAExecutionProvider", {"device_id": "1"}), (CPU, {}))

    @pytest.mark.usefixtures("with_cuda")
    def test_accelerators_come_first(self) -> None:
        settings = settings_of(
            "instance_group { kind: KIND_GPU } optimization { execution_accelerators { "
            'gpu_execution_accelerator { name: "tensorrt" '
            'parameters { key: "trt_fp16_enable" value: "1" } } } }'
        )
        assert settings.providers == (
            ("TensorrtExecutionProvider", {"trt_fp16_enable": "1", "device_id": "0"}),
            ("CUDAExecutionProvider", {"device_id": "0"}),
            (CPU, {}),
        )

    @pytest.mark.usefixtures("with_cuda")
    @pytest.mark.parametrize(
        "groups",
        [
            "instance_group { kind: KIND_GPU gpus: [ 0, 1 ] }",
            "instance_group [ { kind: KIND_GPU }, { kind: KIND_CPU } ]",
        ],
    )
    def test_one_device_only(self, groups: str) -> None:
        with pytest.raises(LoadError, match="several devices are not served, expected all on one"):
            settings_of(groups)

    @pytest.mark.usefixtures("without_cuda")
    def test_an_accelerator_that_is_not_installed(self) -> None:
        text = (
            "optimization { execution_accelerators { "
            'cpu_execution_accelerator { name: "openvino" } } }'
        )
        with pytest.raises(LoadError) as raised:
            settings_of(text)
        assert str(raised.value) == (
            "execution accelerator 'openvino' needs OpenVINOExecutionProvider, the installed "
            "onnxruntime has CPUExecutionProvider"
        )
