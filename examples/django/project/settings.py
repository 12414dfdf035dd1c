"""An ordinary site with Django's own accounts. Nothing in it knows of the gatekeeper but the lines said to be for a proxy."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DATA", BASE_DIR))  # where the database and the mails go

SECRET_KEY = os.environ.get("SECRET_KEY", "only for trying it out")
DEBUG = False

# For a proxy: the gatekeeper hands on the Host header that the browser sent, so the site's public names stand here, not the upstream's.
# They also end up in the mailed links.
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
# For a proxy that ends TLS: Django must be told that the request was https, or name the origins, or it refuses every form.
#   SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
#   CSRF_TRUSTED_ORIGINS = ["https://www.example.org"]

INSTALLED_APPS = [
    "django.contrib.admin",  # brings the pages of the password reset
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "project.urls"
STATIC_URL = "/static/"
LOGIN_REDIRECT_URL = "/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DATA / "mails"
USE_TZ = True
