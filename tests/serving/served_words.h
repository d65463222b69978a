// A model to be asked for, of ten words.
#pragma once
#include <memory>

#include "serving/api_request.h"

namespace elastron::test {

struct ServedWords {
  std::unique_ptr<data::Tokenizer> tokenizer = data::parse_tokenizer(
      R"({"added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
          "pre_tokenizer": {"type": "WhitespaceSplit"},
          "model": {"type": "WordLevel", "unk_token": "<unk>",
                    "vocab": {"<unk>": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "user": 6}}})",
      "words");
  data::ChatTemplate chat = data::ChatTemplate::open("/nowhere", data::ChatTemplateSetting::none);
  serving::ServedModel model{.name = "words",
                             .tokenizer = tokenizer.get(),
                             .chat = &chat,
                             .vocab_size = 7,
                             .max_position = 20};
};

}  // namespace elastron::test
