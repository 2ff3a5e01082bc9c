// Which requests may share a batch.
#pragma once

#include <string>

#include "oip/infer_request.h"

namespace penstock::oip {

/// Appends to `key` what a request has of its own: inputs left out, sizes of
/// dynamic dimensions and, if the signature says they matter, parameters. Two
/// requests to the same model get equal bytes exactly if all of it is equal.
void append_batch_key(const InferRequestView& view, const Signature& signature,
                      const BoundRequest& bound, std::string& key);

}  // namespace penstock::oip
