"""URLs for server-side request forgery: every spelling of this machine, and inner hosts; `{port}` is the canary's."""

from typing import Final

SPELLINGS: Final = (
    "127.0.0.1",
    "127.0.0.1.",
    "127.0.0.1..",
    "127.1",
    "127.0.1",
    "127.000.000.001",
    "2130706433",
    "0x7f000001",
    "0x7F.0.0.1",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.0.0.2",
    "127.255.255.254",
    "0",
    "0.0.0.0",
    "0x0",
    "localhost",
    "LOCALHOST",
    "LocalHost.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[::1%1]",
    "127。0。0。1",
    "127．0．0．1",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "localho\u00adst",
    "127%2e0%2e0%2e1",
    "%31%32%37.0.0.1",
    "%6cocalhost",
    "localhost%00",
    "localhost%2f",
    "user@127.0.0.1",
    "user:secret@127.0.0.1",
    "archive.example@127.0.0.1",
    "@127.0.0.1",
    ":@127.0.0.1",
)

TRANSLATED: Final = (
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::80ff:fffe]",
)
"""IPv6 addresses that a gateway could translate to this machine's IPv4 address."""

SHAPES: Final = (
    "http://{host}:{port}/scan.png",
    "https://{host}:{port}/scan.png",
    "HTTP://{host}:{port}",
    " http://{host}:{port}/?a.png#b ",
)

WHOLE: Final = (
    "http://127.0.0.1:{port}#@archive.example/scan.png",
    "http://127.0.0.1:{port}?@archive.example/scan.png",
    "http://127.0.0.1:{port}\\@archive.example/scan.png",
    "http://127.0.0.1\t:{port}/scan.png",
    "http://127.0.0.1:{port}\r\nHost: archive.example",
    "http:///127.0.0.1:{port}/scan.png",
    "http:////127.0.0.1:{port}/scan.png",
    "http:/127.0.0.1:{port}/scan.png",
    "http:127.0.0.1:{port}",
    "http:\\\\127.0.0.1:{port}\\scan.png",
    "//127.0.0.1:{port}/scan.png",
    "\\\\127.0.0.1\\scan.png",
    "ftp://127.0.0.1:{port}/scan.png",
    "ws://127.0.0.1:{port}/scan.png",
    "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/info",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "unix:/var/run/docker.sock",
    "http://",
    "http://:{port}/",
    "http://[",
    "http://[::1",
    "http://]/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http://\x00/",
)

INSIDE: Final = (
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://192.0.0.192/opc/v2/instance/",
    "http://168.63.129.16/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://198.18.0.1/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
)
"""Hosts of inner networks. No negative control fetches these or the translated ones: it would connect to them."""


def loopback_urls(port: int) -> list[str]:
    """Return every URL of a port of this machine."""
    shaped = [shape.format(host=host, port=port) for shape in SHAPES for host in SPELLINGS + TRANSLATED]
    return shaped + [url.format(port=port) for url in WHOLE]
