"""The fast part of the campaign: a few faults of each part. ``make campaign`` makes all of them."""
import pytest

from tests.campaign.__main__ import PARTS
from tests.campaign.faults import Campaign


@pytest.fixture(scope='module')
def campaign(tmp_path_factory):
    campaign = Campaign(tmp_path_factory.mktemp('campaign'))
    yield campaign
    campaign.close()


@pytest.mark.parametrize('part', PARTS)
def test_faults(campaign, part):
    failures = []
    for number, (name, fault) in enumerate(PARTS[part].faults(campaign)):
        try:
            fault(campaign, campaign.folder(part.replace(' ', '_'), number))
        except Exception as error:  # all are named at once
            failures.append(f'{name}: {type(error).__name__}: {error}')
    assert not failures, '\n'.join(failures)
