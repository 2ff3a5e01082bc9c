#include "serving/refusal.h"

#include <algorithm>
#include <cstdio>
#include <string>

namespace penstock::serving {
namespace {

std::string milliseconds(Nanos span) {
  char text[48];
  std::snprintf(text, sizeof text, "%.3f ms", static_cast<double>(span) / kMillisecond);
  return text;
}

}  // namespace

Status refusal_status(const oip::Signature& signature, const QueueItem& item,
                      const Admission& admission, Nanos now) {
  const std::string model = "model '" + signature.model + "' version " + signature.version;
  const std::string allowed =
      milliseconds(std::min(item.deadline, item.leaves_queue_at) - item.arrival);
  switch (admission.refusal) {
    case Refusal::kQueueFull:
      return {Code::kResourceExhausted, model + ": the queue is full (limit " +
                                            std::to_string(admission.limit) + " requests)"};
    case Refusal::kOverload:
      return {Code::kResourceExhausted, model + ": overloaded; the answer is predicted after " +
                                            milliseconds(admission.predicted) +
                                            ", the deadline allows " + allowed};
    case Refusal::kTooLate:
      return {Code::kDeadlineExceeded, model + ": computing alone is predicted to end after " +
                                           milliseconds(admission.predicted) +
                                           ", the deadline allows " + allowed};
    case Refusal::kExpired:
      return {Code::kDeadlineExceeded, model + ": not computed; the deadline of " + allowed +
                                           " was over or out of reach after " +
                                           milliseconds(now - item.arrival) + " in the queue"};
    case Refusal::kCancelled:
      return {Code::kCancelled, model + ": cancelled by the client"};
    case Refusal::kClosed:
    case Refusal::kCount:
      break;
  }
  return {Code::kUnavailable, model + ": the version is being unloaded"};
}

}  // namespace penstock::serving
