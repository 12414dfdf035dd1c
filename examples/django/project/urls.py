from django.contrib import admin
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import include, path


def home(request):
    return HttpResponse(f"Hello, {request.user.email}." if request.user.is_authenticated else "Hello.", content_type="text/plain")


def contact(request):
    """An ordinary form, with a field `email` that is none of the gatekeeper's business."""
    return render(request, "contact.html", {"written": request.POST if request.method == "POST" else None})


urlpatterns = [
    path("", home),
    path("contact/", contact),
    path("accounts/", include("django.contrib.auth.urls")),
    path("admin/", admin.site.urls),
]
