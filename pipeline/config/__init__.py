"""Settings: TOML files, environment and flags make one frozen `Config`.

`settings` describes each setting once, `load` merges the sources, `reflection` lists the descriptions. `render` makes
from them what people read: flag help, the example file, `config show` and the table in the documentation.
"""

from pipeline.config.cluster_settings import ClusterConfig
from pipeline.config.duration import parse_duration
from pipeline.config.input_settings import InputConfig, PrepareConfig
from pipeline.config.load import Overrides, default_state_dir, expand_home, load_config, user_config_dir
from pipeline.config.operate_settings import OperateConfig
from pipeline.config.serve_settings import ServeConfig
from pipeline.config.settings import (
    OPERATOR_KEY_VARIABLE,
    TIER_CALLS,
    ApiConfig,
    BudgetConfig,
    Config,
    LogConfig,
    OutputConfig,
    RunConfig,
    Tier,
)

__all__ = [
    "OPERATOR_KEY_VARIABLE",
    "TIER_CALLS",
    "ApiConfig",
    "BudgetConfig",
    "ClusterConfig",
    "Config",
    "InputConfig",
    "LogConfig",
    "OperateConfig",
    "OutputConfig",
    "Overrides",
    "PrepareConfig",
    "RunConfig",
    "ServeConfig",
    "Tier",
    "default_state_dir",
    "expand_home",
    "load_config",
    "parse_duration",
    "user_config_dir",
]
