"""How commands are found and shown: loaded when they are called, options in groups, examples and exit codes below."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from pipeline.exit_codes import EXIT_CODES


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is, and its line in the list of commands, which is shown without loading it."""

    module: str
    summary: str


class GroupedOption(click.Option):
    """An option with the heading under which help lists it."""

    def __init__(self, *args: Any, heading: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """Return nothing: default, variable and bounds are part of the help text."""
        del ctx
        return {}


class _Help(click.Command):
    """Help with options under headings, then examples, then exit codes; not wrapped."""

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        exit_codes: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._examples = examples
        self._exit_codes = exit_codes

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            line = parameter.get_help_record(ctx)
            if line is not None and isinstance(parameter, click.Option):
                headings.setdefault(getattr(parameter, "heading", "Options"), []).append(line)
        headings["Options"] = headings.pop("Options")  # last: --help is the least interesting
        for heading, lines in headings.items():
            with formatter.section(heading):
                formatter.write_dl(lines, col_max=28)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self._examples:
            with formatter.section("Examples"):
                for example in self._examples:
                    formatter.write(f"  {example}\n")
        if self._exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), EXIT_CODES[code]) for code in self._exit_codes])


class Command(_Help):
    """A command."""


class Group(_Help, click.Group):
    """A group of commands; called without one, it shows its help and exits with 0."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {"invoke_without_command": True, "callback": show_help}
        super().__init__(*args, **defaults | kwargs)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then every command with its whole summary."""
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries())

    def summaries(self) -> list[tuple[str, str]]:
        """Return the name and summary of every command."""
        return [(name, command.help or "") for name, command in self.commands.items()]


class LazyGroup(Group):
    """A group whose commands are imported when they are called."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, loading no command."""
        del ctx
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, which is its module's `command`; None when there is none of that name."""
        del ctx
        if cmd_name not in self._lazy:
            return None
        command = import_module(self._lazy[cmd_name].module).command
        assert isinstance(command, click.Command)
        return command

    def summaries(self) -> list[tuple[str, str]]:
        """Return the name and summary of every command, loading none."""
        return [(name, lazy.summary) for name, lazy in self._lazy.items()]


@click.pass_context
def show_help(ctx: click.Context) -> int:
    """Print the help of a group that was called without a command."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    return 0


def command(name: str, *parameters: click.Parameter, **options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a function a command.

    Args:
        name: The command's name.
        parameters: Its arguments and options, in the order of its help.
        options: `help`, `examples`, `exit_codes`.
    """
    return lambda function: Command(name, params=list(parameters), callback=function, **options)
