curl -s -X POST "https://llmocr.com/api/text-recognition?key=YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "document": {
      "type": "image_url",
      "image_url": "data:image/jpeg;base64,'"$(base64 -w 0 document.jpg)"'"
    },
    "filename": "document.jpg"
  }'
