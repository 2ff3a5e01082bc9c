// What a client is told whose request is not computed.
#pragma once

#include "base/status.h"
#include "oip/signature.h"
#include "serving/batcher.h"

namespace penstock::serving {

/// The status for `item`, refused by a model of `signature` at `now`.
Status refusal_status(const oip::Signature& signature, const QueueItem& item,
                      const Admission& admission, Nanos now);

}  // namespace penstock::serving
