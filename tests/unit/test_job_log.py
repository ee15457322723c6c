"""What a worker's log says of each job."""

import pytest

from windmill.core import retrying
from windmill.errors import ServiceBusy, ServiceDown, ServiceFull
from windmill.middleware.job_log import JobLog
from windmill.model import Delivery, Handled, Image, Job, Outcome


def settled(error, attempt=0):
    JobLog().settled(
        Handled(
            delivery=Delivery(service="blip", body=b"", attempt=attempt, token=1),
            job=Job(image=Image(image_id=7, path="x")),
            outcome=Outcome(),
            decision=retrying.decide(error, attempt, 3),
            error=error,
            seconds=0.1,
        )
    )


@pytest.mark.parametrize("attempt", [0, 2])
@pytest.mark.parametrize(
    "error",
    [ServiceDown("refused", service="blip"), ServiceFull("refused", service="blip", retry_after=2)],
)
def test_a_job_that_waits_for_its_service_is_no_failed_attempt(caplog, error, attempt):
    caplog.set_level("INFO")
    settled(error, attempt)
    (said,) = caplog.records
    assert said.levelname == "INFO"
    assert said.getMessage() == "blip: image 7: back to its queue, no attempt spent: refused"


def test_a_failed_attempt_is_a_warning_with_the_number_of_the_next(caplog):
    settled(ServiceBusy("500", service="blip"), 1)
    (said,) = caplog.records
    assert (said.levelname, said.getMessage()) == ("WARNING", "blip: image 7: attempt 3 in 5.0 s: 500")
