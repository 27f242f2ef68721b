"""The flags of every driver process, whether an author's own or `podvitals driver`."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from podvitals.driver.settings import CDI_DIR, PLUGIN_DIR, Settings, default_node
from podvitals.errors import InvalidInput

Command = TypeVar("Command", bound=Callable[..., Any])


class _GivenPath(click.Path):
    """A path that was really given: an empty one (a variable that is not set) would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("it is empty: is a variable not set?", param, ctx)
        return super().convert(value, param, ctx)


_PATH = _GivenPath(readable=False, path_type=Path)


def driver_flags(command: Command) -> Command:
    flags = (
        click.option("--node-name", metavar="NAME", help="the node's name  [default: $NODE_NAME, else the host's name]"),
        click.option("--kubeconfig", type=_PATH, metavar="FILE", help="default: $KUBECONFIG, ~/.kube/config, then in-cluster"),
        click.option("--context", metavar="NAME", help="the kubeconfig context to use"),
        click.option(
            "--plugin-dir", type=_PATH, metavar="DIR", default=PLUGIN_DIR, show_default=True, help="the kubelet's plugins_registry"
        ),
        click.option(
            "--cdi-dir", type=_PATH, metavar="DIR", default=CDI_DIR, show_default=True, help="where container runtimes look for CDI files"
        ),
        click.option("--rolling-update", is_flag=True, help="two versions may run side by side: sockets are told apart by --pod-uid"),
        click.option("--pod-uid", metavar="UID", help="the pod's uid, for --rolling-update  [default: $POD_UID]"),
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="of the lines on stderr"),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


def settings_of(flags: Mapping[str, Any]) -> Settings:
    """From what `driver_flags` put among a command's arguments."""
    uid = flags["pod_uid"] or (os.environ.get("POD_UID", "") if flags["rolling_update"] else "")
    if flags["rolling_update"] and not uid:
        raise InvalidInput("--rolling-update needs the pod's uid: pass --pod-uid, or set POD_UID by the downward API")
    if uid and not flags["rolling_update"]:
        raise InvalidInput("--pod-uid is for --rolling-update: pass both, or neither")
    return Settings(flags["node_name"] or default_node(), flags["plugin_dir"], flags["cdi_dir"], uid)
