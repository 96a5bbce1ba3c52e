"""`pagemill completion`: the script that completes commands, flags and paths in a shell."""

import click
from click.shell_completion import get_completion_class

from pipeline.cli.console import print_text
from pipeline.cli.help import command as as_command


@as_command(
    "completion",
    click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"])),
    help="Print the completion script of a shell.",
    examples=(
        'eval "$(pagemill completion bash)"          # in ~/.bashrc',
        'eval "$(pagemill completion zsh)"           # in ~/.zshrc',
        "pagemill completion fish | source           # in ~/.config/fish/config.fish",
    ),
    exit_codes=(0, 2),
)
@click.pass_context
def command(context: click.Context, shell: str) -> int:
    """Run `pagemill completion`."""
    found = get_completion_class(shell)
    assert found is not None
    print_text(found(context.find_root().command, {}, "pagemill", "_PAGEMILL_COMPLETE").source())
    return 0
