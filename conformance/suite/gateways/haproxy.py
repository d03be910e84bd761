"""HAProxy: active checks of each model, traffic observed as well, every retry that it knows.

A backend for each model, so that one that is dead on a server does not take the others with it.
`observe layer7` counts 500 and above as errors of the server; five in a row mark it down, and two
checks bring it back, over five seconds. `timeout server` bounds one attempt, since HAProxy has no
limit for all of them together: three attempts of 300 ms fit into the deadline. A server gets eight
requests at a time; more wait in HAProxy.
"""

import signal

from harness.install import program

from .gateway import AT_ONCE, CONNECT, TRIES, TRY, Gateway, Reload, Site

HEAD = """
global
    nbthread 1
    maxconn 4096

defaults
    mode http
    timeout client 60s
    timeout server {each}ms
    timeout connect {connect}ms
    timeout check 400ms
    timeout queue {each}ms
    timeout http-keep-alive 60s
    retries {retries}
    option redispatch 1
    retry-on all-retryable-errors
    http-reuse always

frontend clients
    bind 127.0.0.1:{port}
{rules}
"""

BACKEND = """
backend {model}
    balance leastconn
    option httpchk GET /v2/models/{model}/ready
    http-check expect status 200
    default-server check inter 1s fastinter 500ms downinter 2s rise 3 fall 2 observe layer7 error-limit 3 on-error mark-down slowstart 5s
{servers}
    server {backup} 127.0.0.1:{port} backup
"""


def _backend(site: Site, model: str) -> str:
    servers = "\n".join(
        f"    server {place.name} 127.0.0.1:{place.port} maxconn {AT_ONCE}"
        f"{'' if place.near else ' backup'}"
        for place in site.first
    )
    backup = site.backup
    return BACKEND.format(model=model, servers=servers, backup=backup.name, port=backup.port)


def _config(site: Site) -> str:
    rules = "\n".join(
        f"    use_backend {model} if {{ path_beg /v2/models/{model}/ }}" for model in site.models
    )
    if site.priorities:
        rules = "    http-request set-priority-class int(-1) if { hdr(x-priority) high }\n" + rules
    head = HEAD.format(
        each=int(TRY * 1e3), connect=int(CONNECT * 1e3), retries=TRIES - 1, port=site.port,
        rules=rules,
    )
    return head + "".join(_backend(site, model) for model in site.models)


GATEWAY = Gateway(
    "haproxy", lambda: program("haproxy"), "haproxy.cfg", _config,
    lambda binary, config: [binary, "-db", "-f", str(config)],
    ("-v",),
    # Only a master takes another configuration, for which it starts another worker.
    reload=Reload(
        signal.SIGUSR2, lambda binary, config: [binary, "-W", "-db", "-f", str(config)]
    ),
)
