"""The text-recognition API on your own machine: request → requests, images → pool → worker → engine → layout."""
