//! The form by which a person answers: sealed to the person, their device and the authorization that they were shown.

use serde::{Deserialize, Serialize};

use super::{DeviceCodeDigest, LIFETIME, UserCode};
use crate::id::{DeviceId, Subject};
use crate::identity::Identity;
use crate::seal::SealError;
use crate::time::UnixTime;

/// What the sealed token of the form holds. Nobody else can send it, for no other authorization, from no other device.
#[derive(Debug, Serialize, Deserialize)]
pub struct AnswerForm {
    subject: Subject,
    device: DeviceId,
    user: [u8; 8],
    code: [u8; 32],
    shown_at: UnixTime,
}

/// Why a form does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It is none of ours.
    #[error("the form is not valid")]
    Seal(SealError),
    /// It was shown too long ago.
    #[error("the form has expired")]
    Expired,
    /// It was shown to somebody else, or on another device.
    #[error("the form was made for somebody else")]
    Foreign,
}

impl AnswerForm {
    /// The form for a person who is shown an authorization.
    pub fn new(identity: &Identity, user: UserCode, code: DeviceCodeDigest, now: UnixTime) -> Self {
        Self {
            subject: identity.subject.clone(),
            device: identity.device.id.clone(),
            user: *user.as_bytes(),
            code: *code.as_bytes(),
            shown_at: now,
        }
    }

    /// The authorization that was shown, and when, if it was to this person, on this device, and not too long ago.
    ///
    /// # Errors
    /// [`FormError::Expired`], [`FormError::Foreign`].
    pub fn answers(
        &self,
        identity: &Identity,
        now: UnixTime,
    ) -> Result<(UserCode, DeviceCodeDigest, UnixTime), FormError> {
        if self.subject != identity.subject || self.device != identity.device.id {
            return Err(FormError::Foreign);
        }
        if self.shown_at.after(LIFETIME).is_past(now) {
            return Err(FormError::Expired);
        }
        let user = UserCode::from_letters(self.user).ok_or(FormError::Seal(SealError::Form))?;
        Ok((user, DeviceCodeDigest::from_bytes(self.code), self.shown_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::device_code;
    use crate::policy::tests::alice;
    use crate::settle::tests::at;

    #[test]
    fn a_form_is_for_one_person_on_one_device_for_ten_minutes() {
        let user = UserCode::parse("BCDF-GHJK").unwrap();
        let form = AnswerForm::new(&alice(), user, device_code(1).digest(), at(1_000));
        assert_eq!(form.answers(&alice(), at(1_599)), Ok((user, device_code(1).digest(), at(1_000))));
        assert_eq!(form.answers(&alice(), at(1_600)), Err(FormError::Expired));
        let bob = Identity { subject: Subject::user(2), ..alice() };
        assert_eq!(form.answers(&bob, at(1_001)), Err(FormError::Foreign));
        let mut elsewhere = alice();
        elsewhere.device.id = DeviceId::parse("nPHONE").unwrap();
        assert_eq!(form.answers(&elsewhere, at(1_001)), Err(FormError::Foreign));
    }
}
