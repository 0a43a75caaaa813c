# gatepost in a container: `make image` builds it and tries it out; README.md, "In Docker", says how to run it.
#
# BASE is any Debian with Python 3.11 or later as python3, and venv.  Where packages do not come from the public index,
# give PIP_INDEX_URL; or put wheels into wheelhouse/ and give PIP_NO_INDEX=1.  Where Debian's packages cannot be had, give
# COMPILER, which is BASE with gcc and Python's headers; or COMPILE=0, which needs neither: what every message passes
# through then takes more of the CPU.
ARG BASE=python:3.11-slim-bookworm
ARG COMPILER=${BASE}

# The first stage builds gatepost's wheel; nothing else of it is taken.
FROM ${COMPILER} AS compiler
ARG COMPILE=1
ARG PIP_INDEX_URL=
ARG PIP_NO_INDEX=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
# Whichever compiler the base's Debian has: its release says which, and it does not come into the image.
# hadolint ignore=DL3008
RUN header="$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
    && set -- \
    && if ! command -v gcc >/dev/null; then set -- gcc libc6-dev; fi \
    && if ! [ -e "$header" ]; then set -- "$@" python3-dev; fi \
    && if [ "$COMPILE" = 1 ] && [ "$#" -gt 0 ]; then \
        apt-get update -q && apt-get install -q -y --no-install-recommends "$@" && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /tmp/build
# What gatepost runs on is here for its types.
COPY requirements-compile.lock requirements-image.lock wheelhouse* ./wheelhouse/
RUN python3 -m venv /opt/compiler \
    && /opt/compiler/bin/pip install --quiet --only-binary :all: --find-links wheelhouse --require-hashes \
        --requirement wheelhouse/requirements-compile.lock --requirement wheelhouse/requirements-image.lock
COPY LICENSE README.md hatch_build.py pyproject.toml ./
COPY src ./src
RUN GATEPOST_COMPILE="$COMPILE" PYTHONHASHSEED=0 \
    /opt/compiler/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel /tmp/build

# The second stage installs that, and by hash what it needs, and then removes whatever a server does not need.
FROM ${BASE} AS builder
ARG PIP_INDEX_URL=
ARG PIP_NO_INDEX=0
ARG SOURCE_DATE_EPOCH=315532800
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /tmp/build
COPY requirements-image.lock wheelhouse* ./wheelhouse/
RUN python3 -m venv /opt/gatepost \
    && /opt/gatepost/bin/pip install --quiet --no-compile --only-binary :all: --find-links wheelhouse \
        --require-hashes --requirement wheelhouse/requirements-image.lock
COPY --from=compiler /tmp/wheel ./wheel
RUN /opt/gatepost/bin/pip install --quiet --no-compile --no-deps --no-index wheel/*.whl \
    && /opt/gatepost/bin/pip uninstall --quiet --yes pip setuptools \
    && groupadd --gid 10001 gatepost \
    && useradd --uid 10001 --gid gatepost --home-dir /var/lib/gatepost --no-create-home --shell /usr/sbin/nologin gatepost \
    && install -d -m 0755 /etc/gatepost \
    && install -d -m 0700 -o gatepost -g gatepost /var/lib/gatepost
# Nothing can be compiled on a read-only root: all is compiled here, for good, whatever the files' times are.
WORKDIR /
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN library="$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && rm -rf "$library"/site-packages/* "$library"/config-* "$library"/ensurepip "$library"/idlelib \
        "$library"/lib2to3 "$library"/pydoc_data "$library"/test "$library"/tkinter "$library"/turtledemo \
        /opt/gatepost/bin/[Aa]ctivate* /opt/gatepost/include /usr/include /usr/local/include \
        /usr/local/bin/2to3* /usr/local/bin/idle* /usr/local/bin/pip* /usr/local/bin/pydoc* /usr/local/bin/wheel \
        /usr/share/doc /usr/share/info /usr/share/locale /usr/share/man /usr/share/python-wheels \
        /root/.cache /tmp/* /var/cache/* /var/lib/apt/lists/* /var/log/* \
    && find /opt/gatepost/lib \( -name tests -o -name testing -o -name __pycache__ \) -type d -prune -exec rm -rf {} + \
    && find /opt/gatepost/lib -type f \( -name '*.c' -o -name '*.h' -o -name '*.pxd' -o -name '*.pyx' \) -delete \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && python3 -m compileall -q -f --invalidation-mode unchecked-hash "$library" /opt/gatepost/lib \
    && mkdir /image \
    && tar --one-file-system --exclude=./image --exclude='./dev/*' --exclude='./proc/*' --exclude='./run/*' --exclude='./sys/*' \
        --exclude=./etc/hosts --exclude=./etc/hostname --exclude=./etc/resolv.conf --clamp-mtime --mtime="@$SOURCE_DATE_EPOCH" -cf - . \
    | tar -C /image -xpf - \
    && touch /image/etc/hosts /image/etc/hostname /image/etc/resolv.conf

# The last stage is what the second one left: no compiler, no headers, no pip, no tests, no layer that still has them.
FROM scratch
COPY --from=builder /image/ /
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gatepost" \
      org.opencontainers.image.description="An authenticating SMTP submission server (RFC 6409)" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# GATEPOST_IMAGE lets gatepost refuse a state folder that would vanish with the container.
ENV GATEPOST_IMAGE="${VERSION}" \
    LANG=C.UTF-8 \
    PATH=/opt/gatepost/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/gatepost
VOLUME /var/lib/gatepost
EXPOSE 587 465
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["gatepost", "health"]
ENTRYPOINT ["gatepost"]
CMD ["serve"]
