"""Identity is asked at every request: changed grants, groups and machines take effect without a restart of anything."""

from lab import CAP, ISSUER, eventually
from rp import oauth_error


def test_a_changed_grant_changes_claims_at_the_next_refresh(lab, alice, app):
    tokens = app.login(alice)
    assert tokens["claims"]["team"] == "eng"

    def other(plan):
        plan["grants"][0]["app"][CAP] = [{"extraClaims": {"team": "platform", "level": 3}, "includeInUserInfo": True}]

    with lab.changed(other):
        tokens = app.tokens(alice, app.refresh(alice, tokens["refresh_token"]))
        assert (tokens["claims"]["team"], tokens["claims"]["level"]) == ("platform", 3)
        info = app.userinfo(alice, tokens["access_token"]).json
        assert (info["team"], info["level"]) == ("platform", 3)
    tokens = app.tokens(alice, app.refresh(alice, tokens["refresh_token"]))
    assert tokens["claims"]["team"] == "eng" and "level" not in tokens["claims"]


def test_a_grant_taken_away_between_authorize_and_token(lab, alice, app):
    login = app.begin()
    code = app.code(app.authorize(alice, login), login)
    with lab.changed(lambda plan: plan["grants"].pop(0)):
        tokens = app.tokens(alice, app.redeem(alice, code, login), login)
        assert "team" not in tokens["claims"]


def test_a_changed_group(lab, alice, app):
    tokens = app.login(alice)
    with lab.changed(lambda plan: plan["users"]["alice"].update(groups=["group:ops", "group:eng"])):
        tokens = app.tokens(alice, app.refresh(alice, tokens["refresh_token"]))
        assert sorted(tokens["claims"]["groups"]) == ["group:eng", "group:ops"]


def test_a_changed_name(lab, bob, app):
    tokens = app.login(bob)
    with lab.changed(lambda plan: plan["users"]["bob"].update(name="Bøb", login="robert@example.com")):
        tokens = app.tokens(bob, app.refresh(bob, tokens["refresh_token"]))
        assert (tokens["claims"]["sub"], tokens["claims"]["name"], tokens["claims"]["email"]) == ("userid:1002", "Bøb", "robert@example.com")
        assert app.login(bob)["claims"]["name"] == "Bøb"


def test_a_malformed_rule_locks_nobody_out(lab, alice, app):
    def change(plan):
        plan["grants"][0]["app"][CAP] = ["nonsense", {"extraClaims": {"sub": "userid:1", "team": "kept"}, "includeInUserInfo": True}, {"extraClaims": 7}, None]

    with lab.changed(change):
        claims = app.login(alice)["claims"]
        assert claims["sub"] == "userid:1001" and claims["iss"] == ISSUER


def test_a_public_clients_refresh_token_is_bound_to_its_machine(alice, bob, cli):
    tokens = cli.login(alice)
    oauth_error(cli.refresh(bob, tokens["refresh_token"]), 400, "invalid_grant")
    # nothing was rotated or revoked by the thief
    again = cli.tokens(alice, cli.refresh(alice, tokens["refresh_token"]))
    assert again["claims"]["sub"] == "userid:1001"


def test_a_rotated_refresh_token_used_again_ends_the_grant(alice, app):
    first = app.login(alice)
    second = app.tokens(alice, app.refresh(alice, first["refresh_token"]))
    # the answer may have been lost: the same successor again, before it was used
    assert app.refresh(alice, first["refresh_token"]).json["refresh_token"] == second["refresh_token"]
    third = app.tokens(alice, app.refresh(alice, second["refresh_token"]))
    oauth_error(app.refresh(alice, first["refresh_token"]), 400, "invalid_grant")
    oauth_error(app.refresh(alice, third["refresh_token"]), 400, "invalid_grant")
    eventually("userinfo ends with the grant", lambda: app.userinfo(alice, third["access_token"]).status == 401)
