"""What is used of the Kubernetes library comes without its 36 MiB of generated code, or, if need be, with it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """What a fresh interpreter prints; every test is about what was imported before."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_what_is_used_is_loaded_and_nothing_is_left_behind() -> None:
    """The generated models are what costs; the library's name stays free for others to import in full."""
    code = """if True:
        import sys
        from wfe_controller.kube.client import library
        assert not [name for name in sys.modules if name.startswith("kubernetes_asyncio")]
        assert library.Configuration.__module__ == "kubernetes_asyncio.client.configuration"
        before = len(sys.modules)
        from kubernetes_asyncio import client, config
        assert client.CoreV1Api and client.V1Pod and config.load_kube_config
        assert len(sys.modules) - before > 500, "the whole library is no longer worth avoiding"
        print("done")
    """
    assert run(code) == "done\n"


def test_a_library_that_is_loaded_already_is_taken_as_it_is() -> None:
    code = """if True:
        import kubernetes_asyncio.client
        from wfe_controller.kube.client import library
        print(library.Configuration is kubernetes_asyncio.client.Configuration)
    """
    assert run(code) == "True\n"


@pytest.mark.parametrize(
    "surprise",
    [
        pytest.param("raise AttributeError('another layout')", id="no-such-function"),
        pytest.param("sys.modules['kubernetes_asyncio.client'] = None; return types.ModuleType('x')", id="half-done"),
    ],
)
def test_another_layout_costs_memory_and_nothing_else(surprise: str) -> None:
    """Every failure of the trick ends in the plain import, said in the log once, with no half-loaded package left."""
    code = f"""if True:
        import importlib.util, sys, types
        real = importlib.util.module_from_spec
        def surprising(spec):
            if spec.name.startswith("kubernetes_asyncio"):
                importlib.util.module_from_spec = real
                {surprise}
            return real(spec)
        importlib.util.module_from_spec = surprising
        from wfe_controller.kube.client import library
        import kubernetes_asyncio.client
        print(library.Configuration is kubernetes_asyncio.client.Configuration)
    """
    *said, verdict = run(code).splitlines()
    assert verdict == "True"
    assert len(said) == 1
    assert "loaded as a whole" in said[0]


def test_an_absent_library_is_an_import_error_that_names_it() -> None:
    code = """if True:
        import sys
        sys.modules["kubernetes_asyncio"] = None
        try:
            import wfe_controller.kube.client.library
        except ImportError as error:
            print("kubernetes_asyncio" in str(error))
    """
    assert run(code) == "True\n"


def test_the_stand_in_for_the_librarys_client_says_what_it_is() -> None:
    code = """if True:
        from wfe_controller.kube.client import library
        try:
            library.NotLoaded(configuration=None)
        except RuntimeError as error:
            print(error)
    """
    assert "its own client is not used" in run(code)
