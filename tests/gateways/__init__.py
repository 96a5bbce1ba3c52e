"""Real limiters in front of the fake service, on loopback: each is a value that starts and stops its own program.

`nginx.py`, `haproxy.py`: Debian's packages. `application.py`: the PyPI library `limits` inside the fake service;
`imitations.py`: what cloud gateways answer. `envoy.py`, `traefik.py`: programs from PyPI, for the benchmark
`tests.benchmarks.gateways` alone.
"""
