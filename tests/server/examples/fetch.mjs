import { readFileSync } from 'node:fs';

const imageBase64 = readFileSync('document.jpg').toString('base64');

const response = await fetch('https://llmocr.com/api/text-recognition?key=YOUR_API_KEY', {
  method: 'POST',
  headers: {
    'Content-Type': 'application/json',
  },
  body: JSON.stringify({
    document: {
      type: 'image_url',
      image_url: `data:image/jpeg;base64,${imageBase64}`,
    },
    filename: 'document.jpg',
  }),
});

const result = await response.json();
console.log(JSON.stringify(result));
