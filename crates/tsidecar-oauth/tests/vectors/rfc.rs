//! Examples of the RFCs, typed once, each with its section.

use serde_json::{Map, Value, json};
use tsidecar_oauth::dpop::{DpopError, DpopProof, Expected, NonceRule, ServerNonces};
use tsidecar_oauth::jose::{ClientKey, Jws, JwsError, PublicKey, PublicKeys, Typ, VerifyAlgorithm};
use tsidecar_oauth::pkce::{CodeChallenge, CodeVerifier};
use tsidecar_oauth::time::UnixTime;

/// The claims of RFC 7515 A.1 to A.3 and A.5, and of RFC 7519 §3.1.
const JOE: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn members(jwk: Value) -> Map<String, Value> {
    match jwk {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn key(jwk: Value) -> PublicKey {
    PublicKey::from_jwk(&members(jwk)).unwrap()
}

fn payload(jws: &str, jwk: &Value) -> Result<Vec<u8>, JwsError> {
    let keys = PublicKeys::parse(&json!({ "keys": [jwk] }).to_string()).unwrap();
    let jws = Jws::parse(jws)?;
    let verified = jws.verify(&keys, &VerifyAlgorithm::ALL, Typ::Optional(&["JWT"]))?;
    Ok(verified.payload().to_vec())
}

fn rsa_key() -> Value {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_\
             YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZl\
             xvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    json!({ "kty": "RSA", "n": n, "e": "AQAB" })
}

fn ec_key() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    })
}

/// A MAC is refused by its name, and also where a public key stands in for the secret.
#[test]
fn rfc_7515_a_1_and_rfc_7519_3_1() {
    let jws =
        format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(payload(&jws, &rsa_key()), Err(JwsError::Symmetric));
}

#[test]
fn rfc_7515_a_2() {
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7\
                     t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi1\
                     2jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGl\
                     UPQGe77Rw";
    let jws = format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{signature}");
    let claims = payload(&jws, &rsa_key()).unwrap();
    assert_eq!(claims, b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");
    assert_eq!(payload(&jws, &ec_key()), Err(JwsError::UnknownKey));
    let altered = jws.replacen("cC4h", "cC5h", 1);
    assert_eq!(payload(&altered, &rsa_key()), Err(JwsError::Signature));
}

#[test]
fn rfc_7515_a_3() {
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let jws = format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{signature}");
    assert!(payload(&jws, &ec_key()).is_ok());
    assert_eq!(payload(&jws.replacen("DtEh", "DtFh", 1), &ec_key()), Err(JwsError::Signature));
}

/// ES512 is not among our algorithms.
#[test]
fn rfc_7515_a_4() {
    let jws = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7X\
               dtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
    assert_eq!(payload(jws, &ec_key()), Err(JwsError::Algorithm));
}

#[test]
fn rfc_7515_a_5() {
    assert_eq!(payload(&format!("eyJhbGciOiJub25lIn0.{JOE}."), &rsa_key()), Err(JwsError::Unsigned));
}

#[test]
fn rfc_7636_b() {
    let challenge = CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
    let verifier = |text| CodeVerifier::parse(text).unwrap();
    assert!(verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").proves(&challenge));
    assert!(!verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl").proves(&challenge));
}

#[test]
fn rfc_7638_3_1() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64t\
             Z_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpb\
             ISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let key = key(json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" }));
    assert_eq!(key.thumbprint().to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn rfc_8037_a_3_to_a_5() {
    let public =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    assert_eq!(key(public.clone()).thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
               hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(payload(jws, &public).unwrap(), b"Example of Ed25519 signing");
    let mut private = members(public);
    private.insert("d".to_owned(), "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".into());
    assert!(PublicKey::from_jwk(&private).is_err());
    let signer = ClientKey::from_jwk(VerifyAlgorithm::EdDsa, &private).unwrap();
    assert_eq!(signer.sign(&json!({ "alg": "EdDSA" }), b"Example of Ed25519 signing").unwrap(), jws);
}

const PROOF_HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOX\
                            pDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNy\
                            diI6IlAtMjU2In19";

fn check(
    proof: &str,
    method: &str,
    url: &str,
    token: Option<&str>,
    now: u64,
) -> Result<DpopProof, DpopError> {
    let now = UnixTime::from_secs(now);
    let nonces = ServerNonces::new(|_| [0; 32], now);
    DpopProof::check(
        proof,
        &Expected {
            method,
            url,
            access_token: token,
            algorithms: &VerifyAlgorithm::ALL,
            nonce: NonceRule::Optional,
            nonces: &nonces,
            now,
        },
    )
}

/// The proof of §4.1 and the thumbprint of §6.1.
#[test]
fn rfc_9449_4_1_and_6_1() {
    let claims = "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxN\
                  TYyMjYyNjE2fQ";
    let signature = "2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let proof = format!("{PROOF_HEADER}.{claims}.{signature}");
    let url = "https://server.example.com/token";
    let checked = check(&proof, "POST", url, None, 1_562_262_616).unwrap();
    assert_eq!(checked.jkt().to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!(check(&proof, "GET", url, None, 1_562_262_616), Err(DpopError::Method));
    assert_eq!(check(&proof, "POST", url, None, 1_562_266_216), Err(DpopError::Time));
}

/// The access token, the proof and its `ath` of §7.1.
#[test]
fn rfc_9449_7_1() {
    let claims = "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvd\
                  XJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9";
    let signature = "2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let proof = format!("{PROOF_HEADER}.{claims}.{signature}");
    let url = "https://resource.example.org/protectedresource";
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    assert!(check(&proof, "GET", url, Some(token), 1_562_262_618).is_ok());
    assert_eq!(check(&proof, "GET", url, Some("another"), 1_562_262_618), Err(DpopError::AccessToken));
}
