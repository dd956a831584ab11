"""Methods of installed packages as choices of the group `method`. Hydra finds plugins in this package only.

Each is offered as a file conf/method/<name>.yaml would be. Its package is imported when it is chosen.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

SCHEME, GROUP = "installed", "method"


class InstalledSource(ConfigSource):
    """The folder that holds method/<name>.yaml of every installed method."""

    @staticmethod
    def scheme() -> str:
        """What its addresses begin with."""
        return SCHEME

    def available(self) -> bool:
        """Always: it may hold nothing."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether the path is the folder `method` or the one it is in."""
        return config_path.strip("/") in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        """Whether an installed package declares the method."""
        group, _, name = config_path.strip("/").removesuffix(".yaml").partition("/")
        return group == GROUP and name in _names()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The installed methods, or the name of their folder."""
        place, configs = config_path.strip("/"), results_filter in (None, ObjectType.CONFIG)
        if place == GROUP:
            return _names() if configs else []
        return [GROUP] if place == "" and results_filter in (None, ObjectType.GROUP) else []

    def load_config(self, config_path: str) -> ConfigResult:
        """The options of one method. ExtensionError, which names its package: it cannot be used."""
        from scripts.command_line.installed import method_options  # imports torch

        name = config_path.strip("/").removesuffix(".yaml").partition("/")[2]
        config = OmegaConf.create(method_options(name))
        return ConfigResult(self.provider, self.full_path(), config, header={"package": None})


class InstalledSearchPath(SearchPathPlugin):
    """Puts the installed methods behind conf/, whose own choices win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra for every composition."""
        search_path.append(provider="retom-installed", path=f"{SCHEME}://")


def _names() -> list[str]:
    from scripts.command_line.choices import installed

    return installed(GROUP)
