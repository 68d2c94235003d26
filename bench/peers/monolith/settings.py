"""What the monolith is told, by environment variables."""

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    port: int
    database_url: str
    jwt_secret: str
    database_pool_size: int = 20
    log_level: str = "INFO"
