// The request parameters that the scheduler itself acts on.
#pragma once

#include "base/status.h"
#include "oip/infer_request.h"
#include "serving/batcher.h"

namespace penstock::serving {

/// `timeout` (microseconds in the queue, 0: none) and `priority`, as in Triton.
/// INVALID_ARGUMENT unless they are integers of at least 0.
Status read_scheduling(const oip::InferRequestView& view, QueueItem& item);

}  // namespace penstock::serving
