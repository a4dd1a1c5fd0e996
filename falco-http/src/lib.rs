//! What every HTTP platform of Falco needs: client, body limits, redaction.
