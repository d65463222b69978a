#include "data/document.h"

#include <algorithm>

#include "core/error.h"

namespace elastron::data {

RangeIds Document::range_ids() const {
  return {0, 0, 0, user_length - 1, 0, user_length - 1, user_length, length() - 1};
}

int task_id(const std::string& name) {
  const auto it = std::ranges::find(kTaskNames, name);
  return it == kTaskNames.end() ? -1 : int(it - kTaskNames.begin());
}

std::string user_text(const Record& record) {
  // Spec 9: a newline before each part, no space after it, none at the context's end.
  const auto begin = std::min(record.question.find_first_not_of(' '), record.question.size());
  const std::string question = "\n" + record.question.substr(begin);
  std::string context = "\n" + record.context;
  while (!context.empty() && (context.back() == ' ' || context.back() == '\n')) context.pop_back();
  return record.is_prefix ? question + "\n" + context : context + "\n" + question;
}

Document make_document(const Record& record, const Tokenizer& tokenizer, int32_t eos,
                       LabelMode labels) {
  Document document;
  document.ids = tokenizer.encode(user_text(record));
  document.user_length = document.length();
  const auto answer = tokenizer.encode(record.answer);
  document.answer_length = int64_t(answer.size());
  document.ids.insert(document.ids.end(), answer.begin(), answer.end());
  if (document.ids.empty() || document.ids.back() != eos) document.ids.push_back(eos);
  document.task_id = task_id(record.task);
  ELASTRON_CHECK(document.task_id >= 0, "unknown task " + record.task);
  document.labels = labels;
  return document;
}

}  // namespace elastron::data
