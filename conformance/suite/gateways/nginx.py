"""nginx, the free edition: passive checks only, the next server asked on every error that it knows.

`non_idempotent`, since an inference changes nothing; `zone`, so that all workers share what is
known of a server. A 400 is the client's fault to it, so a model that is not ready is passed back.
"""

from harness.install import program

from .gateway import AT_ONCE, CONNECT, TRIES, TRY, Gateway, Reload, Site
from ..load import DEADLINE

HEAD = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
{upstreams}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_connect_timeout {connect}ms;
        proxy_read_timeout {each}ms;
        proxy_send_timeout {each}ms;
        proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504
            http_429 non_idempotent;
        proxy_next_upstream_tries {tries};
        proxy_next_upstream_timeout {deadline}ms;
{locations}
    }}
}}
"""

UPSTREAM = """    upstream {model} {{
        zone {model} 64k;
        least_conn;
{servers}
        server 127.0.0.1:{backup} backup;
        keepalive 64;
    }}"""


def _upstream(site: Site, model: str) -> str:
    servers = "\n".join(
        f"        server 127.0.0.1:{place.port} max_conns={AT_ONCE} max_fails=3 fail_timeout=10s"
        f"{'' if place.near else ' backup'};"
        for place in site.first
    )
    return UPSTREAM.format(model=model, servers=servers, backup=site.backup.port)


def _config(site: Site) -> str:
    return HEAD.format(
        folder=site.folder,
        port=site.port,
        connect=int(CONNECT * 1e3),
        each=int(TRY * 1e3),
        tries=TRIES,
        deadline=int(DEADLINE * 1e3),
        upstreams="\n".join(_upstream(site, model) for model in site.models),
        locations="\n".join(
            f"        location /v2/models/{model}/ {{ proxy_pass http://{model}; }}"
            for model in site.models
        ),
    )


GATEWAY = Gateway(
    "nginx", lambda: program("nginx"), "nginx.conf", _config,
    lambda binary, config: [binary, "-c", str(config), "-e", str(config.with_suffix(".err"))],
    ("-v",), reload=Reload(),
)
