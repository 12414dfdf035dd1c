from django.http import HttpResponse
from django.urls import include, path


def home(request):
    return HttpResponse(f"Hello, {request.user.email}." if request.user.is_authenticated else "Hello.", content_type="text/plain")


urlpatterns = [path("", home), path("accounts/", include("allauth.urls"))]
